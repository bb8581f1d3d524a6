// csc_crc.h: the CRC-32 of blobs and frames.

#ifndef CSC_CRC_H
#define CSC_CRC_H

#include <stddef.h>
#include <stdint.h>

// CRC-32 (SPEC.md, section 1.1) of `bytes`, continuing from `crc` (0 at the start).
uint32_t csc_crc32(uint32_t crc, const uint8_t *bytes, size_t count);

#endif

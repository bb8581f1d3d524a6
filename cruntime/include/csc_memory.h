// csc_memory.h: the two functions the runtime needs from where it runs, as in string.h, which
// freestanding compilers do not bring.

#ifndef CSC_MEMORY_H
#define CSC_MEMORY_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int byte, size_t count);

#endif

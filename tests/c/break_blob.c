// Breaks a valid blob in every simple way; the loader must refuse each.
//
// usage: break_blob FILE
// Every single flipped bit, every truncation, every length beyond the end, every misalignment.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "csc.h"

static void die(const char *what, size_t at) {
  fprintf(stderr, "%s at %zu\n", what, at);
  exit(1);
}

static int loads(const uint8_t *blob, size_t bytes) {
  csc_model_t model;
  csc_error_t error = {CSC_OK, 0, 0, 0, 0};
  csc_status_t status = csc_load_model(&model, blob, bytes, &error);
  if (status != error.status && status != CSC_OK) die("the error does not hold the status", 0);
  return status == CSC_OK;
}

static void flip_every_bit(uint8_t *blob, size_t bytes) {
  for (size_t bit = 0; bit < 8 * bytes; bit++) {
    blob[bit / 8] ^= (uint8_t)(1u << bit % 8);
    if (loads(blob, bytes)) die("a flipped bit was accepted", bit);
    blob[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
}

// A fresh block per length, so that AddressSanitizer sees a read behind its end.
static void cut_everywhere(const uint8_t *blob, size_t bytes) {
  for (size_t length = 0; length < bytes; length++) {
    size_t room = (length + CSC_ALIGN - 1) / CSC_ALIGN * CSC_ALIGN;
    uint8_t *cut = aligned_alloc(CSC_ALIGN, room ? room : CSC_ALIGN);
    memcpy(cut, blob, length);
    if (loads(cut, length)) die("a truncated blob was accepted", length);
    free(cut);
  }
}

int main(int count, char **arguments) {
  FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
  if (!file || fseek(file, 0, SEEK_END)) die("usage: break_blob FILE", 0);
  size_t bytes = (size_t)ftell(file);
  rewind(file);
  uint8_t *blob = aligned_alloc(CSC_ALIGN, bytes + CSC_ALIGN);
  if (!blob || fread(blob, 1, bytes, file) != bytes) die("the file cannot be read", 0);
  memset(blob + bytes, 0, CSC_ALIGN);
  fclose(file);
  if (!loads(blob, bytes)) die("the intact blob was refused", 0);
  if (loads(blob, bytes + CSC_ALIGN)) die("bytes behind the blob were accepted", bytes);
  if (loads(NULL, bytes)) die("a null pointer was accepted", 0);
  cut_everywhere(blob, bytes);
  flip_every_bit(blob, bytes);
  memmove(blob + 4, blob, bytes);
  if (loads(blob + 4, bytes)) die("a misaligned blob was accepted", 4);
  printf("%zu flipped bits and %zu truncations refused\n", 8 * bytes, bytes);
  free(blob);
  return 0;
}

/* Runs many cases of sham.c in one process: reads them from stdin, answers on stdout. Numbers are little-endian, and
 * each block of bytes lies in memory of exactly its size, so that AddressSanitizer sees a byte too far. */
#include <stdio.h>
#include <stdlib.h>

#include "sham.h"

static uint32_t number(void) {
  uint8_t bytes[4];
  if (fread(bytes, 1, 4, stdin) != 4) exit(3);
  return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

typedef struct {
  uint8_t* data;
  size_t size;
} block;

static block made(size_t size) {
  block new_one = {malloc(size ? size : 1), size};
  if (!new_one.data) exit(4);
  if (!size) new_one.data = realloc(new_one.data, 1);
  return new_one;
}

static block given(void) {
  block new_one = made(number());
  if (fread(new_one.data, 1, new_one.size, stdin) != new_one.size) exit(3);
  return new_one;
}

static void answer(sham_status status, block told) {
  uint8_t byte = (uint8_t)status;
  fwrite(&byte, 1, 1, stdout);
  if (status == SHAM_OK) fwrite(told.data, 1, told.size, stdout);
  free(told.data);
}

/* Weights of either form, `piece` at a time. */
static void weights_of(int kind) {
  block coded = given(), table = given(), out = made(number());
  size_t piece = number(), done, count;
  sham_coded layer;
  sham_matrix matrix;
  sham_status status = kind == 'c' ? sham_coded_open(&layer, coded.data, coded.size, table.data, table.size, out.size)
                                   : sham_open(&matrix, coded.data, coded.size);
  for (done = 0; !status && done < out.size; done += count) {
    count = out.size - done < piece ? out.size - done : piece;
    status = kind == 'c' ? sham_coded_read(&layer, (int8_t*)out.data + done, count)
                         : sham_read(&matrix, (int8_t*)out.data + done, count);
  }
  answer(status, out);
  free(coded.data);
  free(table.data);
}

static void layer_of(int kind) {
  sham_layer layer;
  sham_coded opened;
  sham_matrix matrix;
  sham_status status;
  block coded = given(), table = given(), x = given(), bias = given(), multipliers = given(), shifts = given(), y, sums;
  layer.inputs = (uint16_t)number();
  layer.outputs = (uint16_t)number();
  layer.pixels = number();
  layer.input_offset = (int32_t)number();
  layer.output_offset = (int32_t)number();
  layer.low = (int32_t)number();
  layer.high = (int32_t)number();
  layer.bias = bias.size ? (int32_t*)(void*)bias.data : NULL;
  layer.multipliers = (int32_t*)(void*)multipliers.data;
  layer.shifts = (int8_t*)shifts.data;
  layer.per_output = shifts.size > 1;
  sums = made(number() * sizeof(int32_t));
  y = made((size_t)layer.outputs * layer.pixels);
  if (kind == 'd') {
    status = sham_coded_open(&opened, coded.data, coded.size, table.data, table.size,
                             (size_t)layer.inputs * layer.outputs);
    if (!status) {
      status = sham_layer_of_coded(&layer, &opened, (int8_t*)x.data, (int8_t*)y.data, (int32_t*)(void*)sums.data,
                                   sums.size / sizeof(int32_t));
    }
  } else {
    status = sham_open(&matrix, coded.data, coded.size);
    if (!status) {
      status = sham_layer_of_matrix(&layer, &matrix, (int8_t*)x.data, (int8_t*)y.data, (int32_t*)(void*)sums.data,
                                    sums.size / sizeof(int32_t));
    }
  }
  answer(status, y);
  free(coded.data);
  free(table.data);
  free(x.data);
  free(bias.data);
  free(multipliers.data);
  free(shifts.data);
  free(sums.data);
}

int main(void) {
  int kind;
  while ((kind = getchar()) != EOF) {
    if (kind == 'i') {
      block bytes = given();
      answer(sham_intact(bytes.data, bytes.size), made(0));
      free(bytes.data);
    } else if (kind == 'c' || kind == 'm') {
      weights_of(kind);
    } else {
      layer_of(kind);
    }
  }
  return 0;
}

#include "sham.h"

#include <string.h>

enum {
  VERSION = 1,
  TABLE_HEADER = 5, /* version, symbols, step, size of the book, pivot */
  SCALE_BITS = 12,  /* frequencies are of 4096 */
  MOST_FREQUENCY_CODE = 8 * SCALE_BITS,
  EXACT = 8,          /* magnitudes below it have a symbol each, four an octave above */
  MATRIX_HEADER = 12, /* version, width, inputs, outputs, entries, values, longest codeword */
  MOST_CODE_BITS = 24,
  CHECK = 4,
  PIECE = 32 /* weights that a layer has decoded at a time */
};
#define LOW (UINT32_C(1) << 23) /* least state of the decoder, and its last one */

static uint32_t u16(const uint8_t* at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }
static uint32_t u32(const uint8_t* at) { return u16(at) | u16(at + 2) << 16; }

sham_status sham_intact(const uint8_t* bytes, size_t size) {
  uint32_t hash = UINT32_C(2166136261); /* FNV-1a */
  size_t i;
  if (size < CHECK) return SHAM_DAMAGED;
  for (i = 0; i < size - CHECK; ++i) hash = (hash ^ bytes[i]) * UINT32_C(16777619);
  return hash == u32(bytes + size - CHECK) ? SHAM_OK : SHAM_DAMAGED;
}

/* ---- coded ---- */

sham_status sham_coded_open(sham_coded* layer, const uint8_t* coded, size_t coded_size, const uint8_t* table,
                            size_t table_size, size_t weights) {
  uint32_t sum = 0, i;
  layer->left = 0;
  if (coded_size < 4 + CHECK || table_size < TABLE_HEADER + CHECK || table[0] != VERSION) return SHAM_DAMAGED;
  layer->symbols = table[1];
  layer->step = table[2];
  layer->size = table[3];
  layer->pivot = table[4];
  if (layer->symbols < 1 || layer->symbols > SHAM_SYMBOLS) return SHAM_DAMAGED;
  if (table_size != (size_t)TABLE_HEADER + layer->symbols - 1u + layer->size + CHECK) return SHAM_DAMAGED;
  layer->book = layer->size ? table + TABLE_HEADER + layer->symbols - 1 : NULL;
  for (i = 1; i < layer->symbols; ++i) {
    uint32_t code = table[TABLE_HEADER + i - 1];
    if (code > MOST_FREQUENCY_CODE) return SHAM_DAMAGED;
    layer->starts[i] = (uint16_t)sum; /* of those before; zero's is not known yet */
    if (code) sum += (8 | (code & 7)) << (code >> 3) >> 3;
    if (sum > 1 << SCALE_BITS) return SHAM_DAMAGED;
  }
  layer->starts[0] = 0;
  sum = (1 << SCALE_BITS) - sum; /* zero has the rest */
  for (i = 1; i < layer->symbols; ++i) layer->starts[i] = (uint16_t)(layer->starts[i] + sum);
  layer->starts[layer->symbols] = 1 << SCALE_BITS;
  layer->state = u32(coded);
  layer->next = coded + 4;
  layer->end = coded + coded_size - CHECK;
  if (layer->state < LOW || layer->state >> 31) return SHAM_DAMAGED;
  layer->left = weights;
  return SHAM_OK;
}

/* The symbol that has a slot: the last one that begins at it or before. */
static uint32_t symbol_at(const sham_coded* layer, uint32_t slot) {
  uint32_t low = 1, high = layer->symbols;
  while (high - low > 1) {
    uint32_t middle = (low + high) / 2;
    if (slot < layer->starts[middle]) {
      high = middle;
    } else {
      low = middle;
    }
  }
  return low;
}

/* The weight that is so many places from the commonest. */
static sham_status weight_at(const sham_coded* layer, int32_t place, int8_t* weight) {
  if (layer->book) {
    place += layer->pivot;
    if (place < 0 || place >= layer->size) return SHAM_DAMAGED;
    place = layer->book[place];
    if (place > 127) place -= 256;
  } else {
    place *= layer->step;
    if (place < -128 || place > 127) return SHAM_DAMAGED;
  }
  *weight = (int8_t)place;
  return SHAM_OK;
}

/* Bytes until the state is large enough again. */
#define REFILL                                   \
  while (state < LOW) {                          \
    if (next == layer->end) return SHAM_DAMAGED; \
    state = state << 8 | *next++;                \
  }

sham_status sham_coded_read(sham_coded* layer, int8_t* weights, size_t count) {
  const uint8_t* next = layer->next;
  const uint32_t zero = layer->starts[1];
  uint32_t state = layer->state;
  const int8_t* end = weights + count;
  size_t left = layer->left;
  int8_t commonest;
  if (count > left) return SHAM_ARGUMENT;
  layer->left = 0; /* after damage nothing can be read */
  if (weight_at(layer, 0, &commonest)) return SHAM_DAMAGED;
  for (; weights != end; ++weights) {
    uint32_t slot = state & ((1 << SCALE_BITS) - 1);
    state >>= SCALE_BITS;
    if (slot < zero) {
      state = zero * state + slot;
      *weights = commonest;
    } else {
      uint32_t symbol = symbol_at(layer, slot), far = (symbol + 1) / 2;
      state = (uint32_t)(layer->starts[symbol + 1] - layer->starts[symbol]) * state + slot - layer->starts[symbol];
      if (far >= EXACT) {
        uint32_t bits = (far - EXACT) / 4 + 1;
        REFILL
        far = (4 + (far & 3)) << bits | (state & ((UINT32_C(1) << bits) - 1));
        state >>= bits;
      }
      if (weight_at(layer, symbol & 1 ? (int32_t)far : -(int32_t)far, weights)) return SHAM_DAMAGED;
    }
    REFILL
  }
  layer->left = left - count;
  layer->state = state;
  layer->next = next;
  return layer->left || (state == LOW && next == layer->end) ? SHAM_OK : SHAM_DAMAGED;
}

/* ---- sHAM ---- */

sham_status sham_open(sham_matrix* matrix, const uint8_t* bytes, size_t size) {
  uint32_t entries, values, length, seen = 0, room = 1, fixed;
  size_t numbers;
  memset(matrix, 0, sizeof *matrix);
  if (size < MATRIX_HEADER + CHECK || bytes[0] != VERSION) return SHAM_DAMAGED;
  matrix->wide = bytes[1];
  entries = u32(bytes + 6);
  values = bytes[10];
  matrix->longest = bytes[11];
  fixed = MATRIX_HEADER + (uint32_t)matrix->longest + values;
  if (matrix->wide < 1 || matrix->wide > 2 || matrix->longest > MOST_CODE_BITS || fixed + CHECK > size) {
    return SHAM_DAMAGED;
  }
  numbers = (size - fixed - CHECK) / matrix->wide; /* at most so many counts and places are there */
  if (u16(bytes + 4) > numbers || entries > numbers - u16(bytes + 4)) return SHAM_DAMAGED;
  if (entries && !values) return SHAM_DAMAGED;
  matrix->lengths = bytes + MATRIX_HEADER;
  matrix->values = matrix->lengths + matrix->longest;
  matrix->counts = matrix->values + values;
  matrix->places = matrix->counts + u16(bytes + 4) * matrix->wide;
  matrix->bits = matrix->places + (size_t)entries * matrix->wide;
  numbers = (size_t)(bytes + size - CHECK - matrix->bits);
  matrix->bits_left = numbers < UINT32_MAX / 8 ? (uint32_t)numbers * 8 : UINT32_MAX;
  for (length = 0; length < matrix->longest; ++length) { /* codewords must be those of a prefix code */
    room = 2 * room;
    if (matrix->lengths[length] > room) return SHAM_DAMAGED;
    room -= matrix->lengths[length];
    seen += matrix->lengths[length];
  }
  if (seen != values) return SHAM_DAMAGED;
  matrix->inputs = (uint16_t)u16(bytes + 2);
  matrix->outputs = (uint16_t)u16(bytes + 4);
  matrix->reached = matrix->inputs;
  matrix->left = entries;
  return SHAM_OK;
}

static uint32_t number(const uint8_t** at, uint32_t wide) {
  uint32_t read = wide == 1 ? **at : u16(*at);
  *at += wide;
  return read;
}

/* The next output's entries. */
static sham_status next_column(sham_matrix* matrix) {
  uint32_t count;
  if (matrix->column == matrix->outputs) return SHAM_ARGUMENT;
  count = number(&matrix->counts, matrix->wide);
  if (count > matrix->left || count > matrix->inputs) return SHAM_DAMAGED;
  matrix->left -= count;
  matrix->in_column = (uint16_t)count;
  matrix->reached = 0;
  if (++matrix->column == matrix->outputs && matrix->left) return SHAM_DAMAGED;
  return SHAM_OK;
}

/* The value of the next codeword, a bit at a time (Moffat and Turpin 1997). */
static sham_status next_value(sham_matrix* matrix) {
  const uint8_t* values = matrix->values;
  uint32_t length, offset = 0;
  for (length = 0; length < matrix->longest; ++length) {
    uint32_t count = matrix->lengths[length];
    if (matrix->bit == matrix->bits_left) return SHAM_DAMAGED;
    offset = 2 * offset + ((uint32_t)matrix->bits[matrix->bit >> 3] >> (7 - (matrix->bit & 7)) & 1);
    ++matrix->bit;
    if (offset < count) {
      uint32_t value = values[offset];
      matrix->value = (int8_t)(value < 128 ? (int32_t)value : (int32_t)value - 256);
      return SHAM_OK;
    }
    offset -= count;
    values += count;
  }
  return SHAM_DAMAGED;
}

/* The next entry of this column; there must be one left. Its input is beyond `least` or at it. */
static sham_status next_entry(sham_matrix* matrix, uint32_t least) {
  uint32_t place = number(&matrix->places, matrix->wide);
  if (place < least || place >= matrix->inputs) return SHAM_DAMAGED;
  matrix->place = (uint16_t)place;
  --matrix->in_column;
  return next_value(matrix);
}

sham_status sham_read(sham_matrix* matrix, int8_t* weights, size_t count) {
  sham_status status;
  while (count) {
    size_t until;
    if (matrix->reached == matrix->inputs) {
      if ((status = next_column(matrix))) return status;
      if (matrix->reached == matrix->inputs) return SHAM_ARGUMENT; /* no inputs */
    }
    if (!matrix->waits && matrix->in_column) {
      if ((status = next_entry(matrix, matrix->reached))) return status;
      matrix->waits = 1;
    }
    until = (matrix->waits ? matrix->place : matrix->inputs) - (size_t)matrix->reached;
    if (until > count) until = count;
    memset(weights, 0, until);
    weights += until;
    count -= until;
    matrix->reached = (uint16_t)(matrix->reached + until);
    if (count && matrix->waits && matrix->reached == matrix->place) {
      *weights++ = matrix->value;
      --count;
      ++matrix->reached;
      matrix->waits = 0;
    }
  }
  return SHAM_OK;
}

/* ---- layers ---- */

static sham_status check(const sham_layer* layer, size_t sums) {
  uint32_t i;
  if (!sums || layer->input_offset < -127 || layer->input_offset > 128 || layer->low < -128 || layer->high > 127 ||
      layer->low > layer->high) {
    return SHAM_ARGUMENT;
  }
  for (i = 0; i < (layer->per_output ? layer->outputs : 1u); ++i) {
    if (layer->multipliers[i] < 0 || layer->shifts[i] < -31 || layer->shifts[i] > 30) return SHAM_ARGUMENT;
  }
  return SHAM_OK;
}

/* One weight's products with its input in all pixels. */
static void multiply(const sham_layer* layer, const int8_t* x, uint32_t input, int32_t weight, int32_t* sums,
                     uint32_t pixels) {
  uint32_t p;
  x += input;
  for (p = 0; p < pixels; ++p) {
    sums[p] += weight * (*x + layer->input_offset);
    x += layer->inputs;
  }
}

/* Rounded to the upper half of 64 bits with halves upwards, then shifted with halves away from zero. */
static int32_t scaled(int32_t sum, int32_t multiplier, int32_t shift) {
  int32_t left = (int32_t)((uint32_t)sum << (shift > 0 ? shift : 0)), right = shift < 0 ? -shift : 0;
  int32_t high = (int32_t)(((int64_t)left * multiplier + (INT64_C(1) << 30)) >> 31);
  uint32_t mask = (UINT32_C(1) << right) - 1, threshold = (mask >> 1) + (high < 0 ? 1u : 0u);
  return (high >> right) + (((uint32_t)high & mask) > threshold ? 1 : 0);
}

static void finish(const sham_layer* layer, uint32_t output, const int32_t* sums, uint32_t pixels, int8_t* y) {
  uint32_t p, place = layer->per_output ? output : 0, bias = layer->bias ? (uint32_t)layer->bias[output] : 0;
  y += output;
  for (p = 0; p < pixels; ++p) {
    int32_t value = scaled((int32_t)((uint32_t)sums[p] + bias), layer->multipliers[place], layer->shifts[place]);
    value = (int32_t)((uint32_t)value + (uint32_t)layer->output_offset);
    if (value < layer->low) value = layer->low;
    if (value > layer->high) value = layer->high;
    *y = (int8_t)value;
    y += layer->outputs;
  }
}

static uint32_t begin(uint32_t pixels, int32_t* sums, size_t sums_count) {
  uint32_t count = pixels < sums_count ? pixels : (uint32_t)sums_count;
  memset(sums, 0, count * sizeof *sums);
  return count;
}

sham_status sham_layer_of_coded(const sham_layer* layer, const sham_coded* opened, const int8_t* x, int8_t* y,
                                int32_t* sums, size_t sums_count) {
  uint32_t done, count, output, input;
  int8_t weights[PIECE];
  if (check(layer, sums_count) || opened->left != (size_t)layer->inputs * layer->outputs) return SHAM_ARGUMENT;
  for (done = 0; done < layer->pixels; done += count) {
    sham_coded reader = *opened;
    count = 0;
    for (output = 0; output < layer->outputs; ++output) {
      count = begin(layer->pixels - done, sums, sums_count);
      for (input = 0; input < layer->inputs; ++input) {
        if (input % PIECE == 0) {
          uint32_t piece = layer->inputs - input;
          if (piece > PIECE) piece = PIECE;
          if (sham_coded_read(&reader, weights, piece)) return SHAM_DAMAGED;
        }
        if (weights[input % PIECE]) multiply(layer, x, input, weights[input % PIECE], sums, count);
      }
      finish(layer, output, sums, count, y);
    }
    if (!count) return SHAM_ARGUMENT; /* no outputs */
    x += (size_t)count * layer->inputs;
    y += (size_t)count * layer->outputs;
  }
  return SHAM_OK;
}

sham_status sham_layer_of_matrix(const sham_layer* layer, const sham_matrix* opened, const int8_t* x, int8_t* y,
                                 int32_t* sums, size_t sums_count) {
  uint32_t done, count, output;
  if (check(layer, sums_count) || opened->column || opened->inputs != layer->inputs ||
      opened->outputs != layer->outputs || !layer->outputs) {
    return SHAM_ARGUMENT;
  }
  for (done = 0; done < layer->pixels; done += count) {
    sham_matrix reader = *opened;
    count = 0;
    for (output = 0; output < layer->outputs; ++output) {
      uint32_t least = 0;
      count = begin(layer->pixels - done, sums, sums_count);
      if (next_column(&reader)) return SHAM_DAMAGED;
      while (reader.in_column) {
        if (next_entry(&reader, least)) return SHAM_DAMAGED;
        multiply(layer, x, reader.place, reader.value, sums, count);
        least = reader.place + 1u;
      }
      finish(layer, output, sums, count, y);
    }
    x += (size_t)count * layer->inputs;
    y += (size_t)count * layer->outputs;
  }
  return SHAM_OK;
}

/* Weights of int8 layers in few bytes, read where they lie: in flash.
 *
 * Two forms, both written by tf-structprune (tflite_export.micro):
 *   coded: each weight as an rANS symbol of a table that layers may share. Smallest.
 *   sHAM:  by outputs how many weights are not zero, at which inputs, and their values as Huffman codewords.
 * Portable C99. Nothing is allocated, nothing but <stddef.h>, <stdint.h> and <string.h> is needed. Whatever the bytes
 * are, nothing outside of them and of the buffers given is touched: damage is SHAM_DAMAGED, or found by sham_intact.
 * Weights come in TFLite's order: all inputs of the first output, then of the second, and so on.
 */
#ifndef TF_STRUCTPRUNE_SHAM_H_
#define TF_STRUCTPRUNE_SHAM_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHAM_SYMBOLS 55 /* of the coded form at most */

typedef enum {
  SHAM_OK = 0,
  SHAM_DAMAGED = 1,  /* these bytes are not what the encoder wrote, or of a later version */
  SHAM_ARGUMENT = 2  /* the caller asks for what cannot be */
} sham_status;

/* Whether coded weights, a table or a matrix are as they were written: their last four bytes are a checksum of the
 * others, in which every changed byte shows. Once, when the device starts, is enough. */
sham_status sham_intact(const uint8_t* bytes, size_t size);

/* ---- coded ---- */

/* How far a coded layer was read; the caller's memory, 136 bytes on a Cortex-M. */
typedef struct {
  const uint8_t* next;
  const uint8_t* end;
  const uint8_t* book; /* values of the symbols, or NULL: multiples of step */
  size_t left;         /* weights not read yet */
  uint32_t state;
  uint16_t starts[SHAM_SYMBOLS + 1];
  uint8_t symbols;
  uint8_t step;
  uint8_t pivot; /* place of the commonest value in the book */
  uint8_t size;  /* of the book */
} sham_coded;

/* Begins to read a layer of so many weights. */
sham_status sham_coded_open(sham_coded* layer, const uint8_t* coded, size_t coded_size, const uint8_t* table,
                            size_t table_size, size_t weights);

/* Reads the next weights; all at once or in pieces. With the last one, SHAM_DAMAGED unless the bytes end with it. */
sham_status sham_coded_read(sham_coded* layer, int8_t* weights, size_t count);

/* ---- sHAM ---- */

/* How far a sHAM matrix was read; the caller's memory, 48 bytes on a Cortex-M. */
typedef struct {
  const uint8_t* lengths; /* codewords of each length */
  const uint8_t* values;
  const uint8_t* counts;
  const uint8_t* places;
  const uint8_t* bits;
  uint32_t bits_left;
  uint32_t left; /* entries whose column was not begun yet */
  uint32_t bit;
  uint16_t inputs;
  uint16_t outputs;
  uint16_t column;    /* outputs begun */
  uint16_t in_column; /* entries left in this one */
  uint16_t reached;   /* inputs read in this one */
  uint16_t place;     /* input of the entry that was read, and its value */
  int8_t value;
  uint8_t waits; /* whether an entry was read and not written yet */
  uint8_t longest;
  uint8_t wide; /* bytes of counts and places */
} sham_matrix;

/* Begins to read a matrix. */
sham_status sham_open(sham_matrix* matrix, const uint8_t* bytes, size_t size);

/* Reads the next weights, zeros too; all at once or in pieces. */
sham_status sham_read(sham_matrix* matrix, int8_t* weights, size_t count);

/* ---- a dense layer or 1x1 convolution, computed from either form without its dense weights ---- */

/* A layer in TFLite's integers. Accumulators are 32 bits, scaled back as by MultiplyByQuantizedMultiplier of TFLite's
 * kernels (double rounding), with the multipliers and shifts that QuantizeMultiplier gives. */
typedef struct {
  uint16_t inputs;            /* channels */
  uint16_t outputs;           /* channels */
  uint32_t pixels;            /* rows times columns of a 1x1 convolution of stride 1, or the batch of a dense layer */
  int32_t input_offset;       /* minus the input's zero point */
  int32_t output_offset;      /* the output's zero point */
  int32_t low;                /* limits of the output: those of int8, or of the fused activation */
  int32_t high;
  const int32_t* bias;        /* one an output, or NULL */
  const int32_t* multipliers; /* one an output, or one */
  const int8_t* shifts;       /* to the left if positive */
  uint8_t per_output;         /* whether multipliers and shifts are one an output */
} sham_layer;

/* y (pixels x outputs) from x (pixels x inputs). The weights are read once for so many pixels as there are sums; one
 * is enough for a dense layer. */
sham_status sham_layer_of_coded(const sham_layer* layer, const sham_coded* opened, const int8_t* x, int8_t* y,
                                int32_t* sums, size_t sums_count);
sham_status sham_layer_of_matrix(const sham_layer* layer, const sham_matrix* opened, const int8_t* x, int8_t* y,
                                 int32_t* sums, size_t sums_count);

#ifdef __cplusplus
}
#endif

#endif /* TF_STRUCTPRUNE_SHAM_H_ */

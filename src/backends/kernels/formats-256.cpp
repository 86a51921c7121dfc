// Kernels of the "K" formats.
#include "formats-256.h"
#include "quantized-of.h"

const Quantized quantized_q2_k = quantized_of<FormatQ2_K>();
const Quantized quantized_q3_k = quantized_of<FormatQ3_K>();
const Quantized quantized_q4_k = quantized_of<FormatQ4_K>();
const Quantized quantized_q5_k = quantized_of<FormatQ5_K>();
const Quantized quantized_q6_k = quantized_of<FormatQ6_K>();

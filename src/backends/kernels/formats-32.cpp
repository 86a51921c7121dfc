// Kernels of the formats with blocks of 32.
#include "formats-32.h"
#include "quantized-of.h"

const Quantized quantized_q4_0 = quantized_of<FormatQ4_0>();
const Quantized quantized_q4_1 = quantized_of<FormatQ4_1>();
const Quantized quantized_q5_0 = quantized_of<FormatQ5_0>();
const Quantized quantized_q5_1 = quantized_of<FormatQ5_1>();
const Quantized quantized_q8_0 = quantized_of<FormatQ8_0>();

// Kernels of the formats of one to four bits.
#include "formats-small.h"
#include "quantized-of.h"

const Quantized quantized_iq2_xxs = quantized_of<FormatIQ2_XXS>();
const Quantized quantized_iq2_xs = quantized_of<FormatIQ2_XS>();
const Quantized quantized_iq2_s = quantized_of<FormatIQ2_S>();
const Quantized quantized_iq1_s = quantized_of<FormatIQ1_S>();
const Quantized quantized_iq1_m = quantized_of<FormatIQ1_M>();
const Quantized quantized_tq1_0 = quantized_of<FormatTQ1_0>();
const Quantized quantized_tq2_0 = quantized_of<FormatTQ2_0>();
const Quantized quantized_q1_0 = quantized_of<FormatQ1_0>();
const Quantized quantized_q2_0 = quantized_of<FormatQ2_0>();
const Quantized quantized_mxfp4 = quantized_of<FormatMXFP4>();
const Quantized quantized_nvfp4 = quantized_of<FormatNVFP4>();

// Kernels of the formats that index tables.
#include "formats-lookup.h"
#include "quantized-of.h"

const Quantized quantized_iq4_nl = quantized_of<FormatIQ4_NL>();
const Quantized quantized_iq4_xs = quantized_of<FormatIQ4_XS>();
const Quantized quantized_iq3_s = quantized_of<FormatIQ3_S>();
const Quantized quantized_iq3_xxs = quantized_of<FormatIQ3_XXS>();

// The kernels of the formats whose numbers index a table.
#include "formats-lookup.h"
#include "matmul-rounded.h"

constinit const QuantizedKernels kernels_iq4_nl = kernels_of<FormatIQ4_NL>();
constinit const QuantizedKernels kernels_iq4_xs = kernels_of<FormatIQ4_XS>();
constinit const QuantizedKernels kernels_iq3_s = kernels_of<FormatIQ3_S>();
constinit const QuantizedKernels kernels_iq3_xxs = kernels_of<FormatIQ3_XXS>();

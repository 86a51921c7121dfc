// The kernels of the formats with blocks of 32 numbers.
#include "formats-32.h"
#include "matmul-rounded.h"

constinit const QuantizedKernels kernels_q4_0 = kernels_of<FormatQ4_0>();
constinit const QuantizedKernels kernels_q4_1 = kernels_of<FormatQ4_1>();
constinit const QuantizedKernels kernels_q5_0 = kernels_of<FormatQ5_0>();
constinit const QuantizedKernels kernels_q5_1 = kernels_of<FormatQ5_1>();
constinit const QuantizedKernels kernels_q8_0 = kernels_of<FormatQ8_0>();

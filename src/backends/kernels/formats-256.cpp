// The kernels of the "K" formats.
#include "formats-256.h"
#include "matmul-rounded.h"

constinit const QuantizedKernels kernels_q2_k = kernels_of<FormatQ2_K>();
constinit const QuantizedKernels kernels_q3_k = kernels_of<FormatQ3_K>();
constinit const QuantizedKernels kernels_q4_k = kernels_of<FormatQ4_K>();
constinit const QuantizedKernels kernels_q5_k = kernels_of<FormatQ5_K>();
constinit const QuantizedKernels kernels_q6_k = kernels_of<FormatQ6_K>();

// Which id is which format.
#include "quantized.h"

const Quantized* quantized(int format) {
  switch (format) {
    case 2: return &quantized_q4_0;
    case 3: return &quantized_q4_1;
    case 6: return &quantized_q5_0;
    case 7: return &quantized_q5_1;
    case 8: return &quantized_q8_0;
    case 10: return &quantized_q2_k;
    case 11: return &quantized_q3_k;
    case 12: return &quantized_q4_k;
    case 13: return &quantized_q5_k;
    case 14: return &quantized_q6_k;
    case 16: return &quantized_iq2_xxs;
    case 17: return &quantized_iq2_xs;
    case 18: return &quantized_iq3_xxs;
    case 19: return &quantized_iq1_s;
    case 20: return &quantized_iq4_nl;
    case 21: return &quantized_iq3_s;
    case 22: return &quantized_iq2_s;
    case 23: return &quantized_iq4_xs;
    case 29: return &quantized_iq1_m;
    case 34: return &quantized_tq1_0;
    case 35: return &quantized_tq2_0;
    case 39: return &quantized_mxfp4;
    case 40: return &quantized_nvfp4;
    case 41: return &quantized_q1_0;
    case 42: return &quantized_q2_0;
    default: return nullptr;
  }
}

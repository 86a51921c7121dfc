// The formats that the kernels cannot multiply with yet; a format leaves this list with the commit that brings its kernel.

export const formatsWithoutKernel = [
  'IQ2_S',
  'IQ2_XS',
  'IQ2_XXS',
  'IQ1_M',
  'IQ1_S',
  'MXFP4',
  'NVFP4',
  'TQ1_0',
  'TQ2_0',
  'Q1_0',
  'Q2_0',
] as const;

// The divisors of RoPE's frequencies that Llama 3.1's scaling means, which GGUF files hold as the tensor rope_freqs.weight.
// Source: llama-models models/llama4/model.py `apply_scaling`; llama.cpp's converter stores its quotient.

export interface RopeScaling {
  readonly factor: number;
  readonly lowFrequencyFactor: number;
  readonly highFrequencyFactor: number;
  /** Positions that the model was trained on before. */
  readonly originalContext: number;
}

/** [headDim / 2]: 1 for short waves, `factor` for long ones, between them a ramp. Scout has no ramp: low and high are both 1. */
export function scaledFrequencies(headDim: number, theta: number, scaling: RopeScaling): Float32Array {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContext } = scaling;
  return Float32Array.from({ length: headDim / 2 }, (_, j) => {
    const wave = 2 * Math.PI * theta ** ((2 * j) / headDim);
    if (wave < originalContext / high) return 1;
    if (wave > originalContext / low || low === high) return factor;
    const smooth = (originalContext / wave - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

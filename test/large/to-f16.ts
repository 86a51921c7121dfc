// Rewrites a GGUF with every matrix as F16: node test/large/to-f16.ts IN.gguf OUT.gguf
// With F16 weights neither we nor llama.cpp round activations to 8 bits, so that two engines' greedy tokens can be compared.

import { dequantize } from '../../src/backends/reference/dequantize.ts';
import { quantize } from '../../src/backends/reference/quantize.ts';
import { typed, type WritableValue, writeGguf } from '../../src/checkpoint/gguf-writer.ts';
import { openCheckpoint } from '../../src/checkpoint/open.ts';

const [input, output] = process.argv.slice(2);
if (!input || !output) {
  console.error('usage: node test/large/to-f16.ts IN.gguf OUT.gguf');
  process.exit(2);
}
await using checkpoint = await openCheckpoint(input);
const metadata = new Map<string, WritableValue>();
for (const [key, value] of checkpoint.metadata) {
  if (key === 'general.file_type') metadata.set(key, 1);
  else if (/rope\.freq_base|epsilon|rope\.scal/.test(key) && typeof value === 'number')
    metadata.set(key, typed('f32', value));
  else metadata.set(key, value as WritableValue);
}
await writeGguf(output, {
  metadata,
  tensors: [...checkpoint.tensors.values()].map(tensor => {
    const matrix = tensor.shape.length > 1;
    return {
      name: tensor.name,
      dtype: matrix ? 'F16' : tensor.dtype,
      shape: tensor.shape,
      data: async function* () {
        const bytes = new Uint8Array(tensor.byteLength);
        await checkpoint.read(tensor, 0, bytes);
        const elements = tensor.shape.reduce((a, b) => a * b, 1);
        yield matrix ? quantize('F16', dequantize(tensor.dtype, bytes, elements)) : bytes;
      },
    };
  }),
});

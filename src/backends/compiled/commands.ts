// What the host and the kernels call alike: commands, tasks, the control block, and what the host asks of the kernels.

/** What the host asks of the kernels while it encodes. kernels/matmul.h says what each means. */
export interface KernelQueries {
  is_packed(format: number): boolean | number;
  matrix_bytes(format: number, rows: number, n: number): number;
  activation_bits(format: number, n: number, wordsBelow: number): number;
  rounded_row_bytes(bits: number, n: number): number;
  expert_scratch_bytes(experts: number, rows: number, threads: number): number;
}

/** Mirrors `enum class Kind` in kernels/program.h. */
export const commands = {
  Embed: 1,
  Quantize: 2,
  Matmul: 3,
  ExpertMatmul: 4,
  RmsNorm: 5,
  Rope: 6,
  TopK: 7,
  Swiglu: 8,
  Sigmoid: 9,
  Add: 10,
  ScaleRows: 11,
  GatherRows: 12,
  Append: 13,
  Attention: 14,
  AttentionMerge: 15,
  Pack: 16,
  SoftmaxSums: 17,
  SoftmaxMasses: 18,
} as const satisfies Record<string, number>;

/** Mirrors `enum class Task` in kernels/program.h. */
export const task = { Run: 0, Attach: 1, Leave: 2 } as const;

/** Where the fields of `struct Control` in kernels/program.h lie, in 32-bit words. */
export const control = {
  bytes: 320,
  failed: 16,
  task: 32,
  attached: 49,
  /** In 64-bit words. */
  weightBytes: 32,
  multiplyAdds: 33,
} as const;

/** A task as the control block holds it: a number that no other recent task has, and what is to do. */
export const packTask = (number: number, what: number, bank = 0, program = 0): number =>
  (number << 12) | (bank << 4) | (program << 2) | what;
export const unpackTask = (word: number): { what: number; bank: number; program: number } => ({
  what: word & 3,
  bank: (word >> 4) & 255,
  program: (word >> 2) & 3,
});

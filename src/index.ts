// The public door: everything a program may import from 'open-maverick'.

export type { Backend } from './backends/backend.ts';
export { createNativeBackend } from './backends/native/native.ts';
export { createReferenceBackend } from './backends/reference/reference.ts';
export { createWasmBackend } from './backends/wasm/wasm.ts';
export { type CalibrateOptions, type Calibration, calibrate } from './calibrate/calibrate.ts';
export { type Imatrix, type ImatrixEntry, type Importance, importanceOf, readImatrix } from './calibrate/imatrix.ts';
export { type Checkpoint, CheckpointError, type MetadataValue, type TensorInfo } from './checkpoint/checkpoint.ts';
export type { DType } from './checkpoint/dtype.ts';
export { openCheckpoint } from './checkpoint/open.ts';
export { CacheFileError } from './engine/cache-file.ts';
export { createChat, openChat } from './engine/chat.ts';
export { type ChatObject, type ChatObjectOptions, chatObject } from './engine/chat-object.ts';
export {
  defineTool,
  type RunnableTool,
  type RunToolsOptions,
  runTools,
  type StandardSchema,
  type ToolContext,
  type ToolDescription,
  type ToolResultEvent,
} from './engine/chat-tools.ts';
export type {
  ChatModel,
  ChatOptions,
  CompletionOptions,
  Embedding,
  ResponseFormat,
  ToolChoice,
} from './engine/chat-types.ts';
export { openEngine } from './engine/client.ts';
export { EngineDraining, EngineFailed, EngineRestarting, NotEnoughMemory, QueueFull } from './engine/errors.ts';
export { GrammarError } from './engine/grammar-error.ts';
export { jsonSchemaGrammar } from './engine/grammar-json-schema.ts';
export { openLocalEngine } from './engine/local-engine.ts';
export type {
  ChatEvent,
  Engine,
  EngineOptions,
  EngineState,
  EngineStats,
  FinishReason,
  GenerateOptions,
  GenerationEnd,
  GenerationStats,
  ModelInfo,
  Routing,
  RowsOptions,
  SamplingOptions,
  SavedCache,
  StateListener,
  TokenEvent,
} from './engine/types.ts';
export { type CompareOptions, type Comparison, compareModels } from './eval/compare.ts';
export { comparisonMarkdown } from './eval/report.ts';
export { type DerivedTerms, derivedTerms, licenceOf } from './licence/derived.ts';
export { planModel } from './model/config.ts';
export type { Llama4Config } from './model/llama4.ts';
export { bindWeights } from './model/weights.ts';
export { chatFormatFor } from './tokenizer/chat-format.ts';
export { tokenizerFromGguf } from './tokenizer/from-gguf.ts';
export { openTokenizer } from './tokenizer/open-tokenizer.ts';
export type { ChatFormat, Message, Tokenizer, TokenStream, Tool } from './tokenizer/tokenizer.ts';
export type { CallableTool, ToolCallPiece } from './tokenizer/tool-call-events.ts';
export { createToolCallParser, type ToolCallParser } from './tokenizer/tool-call-parser.ts';

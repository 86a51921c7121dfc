// What a reader of tool calls says, piece by piece.

/** A tool as far as its calls must be known to be read. */
export interface CallableTool {
  readonly name: string;
  /** JSON Schema of the arguments. */
  readonly parameters?: unknown;
}

/** `raw` is the text that a piece was read from; put together in order, with texts, it is all that was read. */
export type ToolCallPiece =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'call-start'; readonly index: number; readonly name: string; readonly raw: string }
  /** More of the arguments, as JSON text. */
  | { readonly type: 'call-arguments'; readonly index: number; readonly delta: string; readonly raw: string }
  /** `complete` is false when the arguments broke off, or were none; what follows is text again. */
  | { readonly type: 'call-end'; readonly index: number; readonly complete: boolean }
  /** What stands between and around calls: brackets, commas, markers. */
  | { readonly type: 'frame'; readonly raw: string };

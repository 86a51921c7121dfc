// How Llama 4 writes a tool call in an assistant's message: Meta's models/llama3/tool_utils.py, ToolUtils.encode_tool_call.

/** JSON is what encode_dialog_prompt uses by default; the others are named as in Meta's ToolPromptFormat. */
export type ToolCallStyle = 'json' | 'function_tag' | 'python_list';

interface ToolCall {
  readonly name: string;
  readonly arguments: unknown;
}

/** The text of one call. Meta's built-in tools have forms of their own, whatever the style. */
export function toolCallText(call: ToolCall, style: ToolCallStyle): string {
  const values = isObject(call.arguments) ? call.arguments : {};
  if (call.name === 'code_interpreter' && typeof values.code === 'string') return values.code;
  if (['brave_search', 'wolfram_alpha', 'photogen'].includes(call.name) && typeof values.query === 'string')
    return `${call.name}.call(query="${values.query}")`;
  switch (style) {
    case 'json':
      return pythonJson({ type: 'function', name: call.name, parameters: call.arguments });
    case 'function_tag':
      return `<function=${call.name}>${pythonJson(call.arguments)}</function>`;
    case 'python_list':
      return `[${call.name}(${Object.entries(values)
        .map(([key, value]) => `${key}=${pythonValue(value)}`)
        .join(', ')})]`;
  }
}

/** As Python's json.dumps writes it: ", " and ": ", and nothing but ASCII. */
function pythonJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`;
  if (isObject(value))
    return `{${Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .map(([key, v]) => `${pythonJson(key)}: ${pythonJson(v)}`)
      .join(', ')}}`;
  return (JSON.stringify(value) ?? 'null').replace(
    /[\u007f-\uffff]/g,
    c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function pythonValue(value: unknown): string {
  if (typeof value === 'string') return `"${value}"`;
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (Array.isArray(value)) return `[${value.map(pythonValue).join(', ')}]`;
  if (isObject(value))
    return `{${Object.entries(value)
      .map(([key, v]) => `${key}=${pythonValue(v)}`)
      .join(', ')}}`;
  return value === null || value === undefined ? 'None' : String(value);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// A grammar, regular expression or schema that cannot be used: what is wrong with it and where.

/** Names the parameter, the place in it, and what would be accepted. */
export class GrammarError extends RangeError {
  override readonly name = 'GrammarError';
  /** As the caller named what is wrong: 'grammar', 'regex', 'schema', 'tools[2]'. */
  readonly parameter: string;
  /** 'line 3, column 5' of a grammar, 'character 7' of a regular expression, a JSON pointer ('/properties/a') of a schema. */
  readonly place: string;

  constructor(parameter: string, place: string, problem: string) {
    super(`${parameter}${place === '' ? '' : ` at ${place}`}: ${problem}`);
    this.parameter = parameter;
    this.place = place;
  }
}

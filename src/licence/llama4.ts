// What the Llama 4 Community License asks of those who have, change and pass on the models: the terms as data, no text of ours.
// Source: the licence (https://www.llama.com/llama4/license/), sections 1.b, 2 and 5, and its Acceptable Use Policy.

/** A licence that asks for more than to be kept beside the files. */
export interface LicenceTerms {
  /** As model cards and `general.license` name it. */
  readonly id: string;
  readonly title: string;
  /** The date that the licence gives as its version. */
  readonly version: string;
  readonly link: string;
  readonly usePolicy: string;
  /** The name of a derived model that is passed on begins with this. */
  readonly namePrefix: string;
  /** To be displayed where a derived model or a product of it is made available. */
  readonly attribution: string;
  /** Goes into a text file "Notice" beside every copy. */
  readonly notice: string;
  /** What one agrees to, a line each, for people who are asked. */
  readonly points: readonly string[];
}

export const llama4Terms: LicenceTerms = {
  id: 'llama4',
  title: 'Llama 4 Community License',
  version: 'April 5, 2025',
  link: 'https://www.llama.com/llama4/license/',
  usePolicy: 'https://www.llama.com/llama4/use-policy',
  namePrefix: 'Llama',
  attribution: 'Built with Llama',
  notice:
    'Llama 4 is licensed under the Llama 4 Community License, Copyright © Meta Platforms, Inc. All Rights Reserved.',
  points: [
    'use follows the Acceptable Use Policy; its multimodal rights are not granted to those domiciled in the European Union',
    'who passes on the model, or anything made with it, adds a copy of the licence and a file "Notice", and shows "Built with Llama"',
    'the name of a model that is derived from it and passed on begins with "Llama"',
    'products with more than 700 million monthly users need a licence of their own from Meta',
  ],
};

/** The terms behind a licence's name (`llama4`, `Llama 4 Community License` …), or null where we know of none. */
export const termsOfLicence = (name: string | null): LicenceTerms | null =>
  name !== null && /^(meta[\s_-]?)?llama[\s_-]?4(?![\d.])/i.test(name.trim()) ? llama4Terms : null;

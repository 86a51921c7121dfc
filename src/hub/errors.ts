// What can go wrong on the way to a model, in kinds a caller can act on.

/**
 * - `offline`: the network is switched off by HF_HUB_OFFLINE
 * - `unreachable`: no connection to the hub
 * - `denied`: the hub wants a token or an accepted licence (401, 403)
 * - `missing`: no such repository, revision or file
 * - `refused`: the hub answers with an error that trying again did not cure (429, 5xx)
 * - `integrity`: the bytes are not those the hub promised
 * - `disk`: too little space, or the cache cannot be written
 * - `name`: the name of a model cannot be understood
 */
export type HubErrorKind = 'offline' | 'unreachable' | 'denied' | 'missing' | 'refused' | 'integrity' | 'disk' | 'name';

/** A model that could not be had: says what was asked for, what came, and what to do next. */
export class HubError extends Error {
  override readonly name = 'HubError';
  readonly kind: HubErrorKind;
  constructor(kind: HubErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

// Where the hub is and where its files lie on this machine, by the environment variables that all Hugging Face tools share.
// Source: huggingface_hub, docs "Environment variables".
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface HubSettings {
  /** Base address, without a slash at the end. */
  readonly endpoint: string;
  /** The folder that holds `models--owner--name` folders. */
  readonly cache: string;
  readonly token: string | null;
  /** No request leaves this machine. */
  readonly offline: boolean;
}

const isOn = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '');

/**
 * HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN (or the file HF_TOKEN_PATH, by default the `token` that `hf auth login` wrote under
 * HF_HOME), HF_HUB_OFFLINE, and the older names HUGGINGFACE_HUB_CACHE and HUGGING_FACE_HUB_TOKEN.
 */
export function hubSettings(environment: Readonly<Record<string, string | undefined>> = process.env): HubSettings {
  const home =
    environment.HF_HOME ||
    join(environment.XDG_CACHE_HOME || join(environment.HOME || homedir(), '.cache'), 'huggingface');
  const given = environment.HF_TOKEN || environment.HUGGING_FACE_HUB_TOKEN;
  return {
    endpoint: (environment.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, ''),
    cache: environment.HF_HUB_CACHE || environment.HUGGINGFACE_HUB_CACHE || join(home, 'hub'),
    token: (given ?? storedToken(environment.HF_TOKEN_PATH || join(home, 'token')))?.trim() || null,
    offline: isOn(environment.HF_HUB_OFFLINE),
  };
}

function storedToken(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // most people have none
  }
}

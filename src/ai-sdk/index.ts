// The door 'open-maverick/ai-sdk': a provider for the AI SDK, against a server or over a chat model in this process.
export { createLocalOpenMaverick } from './local.ts';
export { createOpenMaverick, type OpenMaverickProvider, type OpenMaverickSettings } from './provider.ts';

// The WebAssembly backend runs the table of cases that every backend runs.
import { runBackendCases } from '../backend.cases.ts';
import { createWasmBackend } from './wasm.ts';

runBackendCases('wasm, 2 threads', () => createWasmBackend({ threads: 2 }), { precision: { activations: 'q8' } });

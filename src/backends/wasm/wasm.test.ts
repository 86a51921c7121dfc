// The WebAssembly backend runs the tables that every backend, and every one of compiled kernels, runs.
import { runCompiledCases } from '../compiled/compiled.cases.ts';
import { WasmThreads } from './threads.ts';
import { createWasmBackend } from './wasm.ts';

runCompiledCases('wasm', createWasmBackend, WasmThreads.prototype);

// The reference backend against the table of cases that every backend runs, and what only it promises.
import { runBackendCases } from '../backend.cases.ts';
import { createReferenceBackend } from './reference.ts';

runBackendCases('reference', () => createReferenceBackend());
runBackendCases('reference, no weight kept decoded', () => createReferenceBackend({ decodedBytes: 0 }));

// Opens a checkpoint of whatever kind it is. GGUF is the one kind that can be read now; others are named for what they are.
import type { Checkpoint } from './checkpoint.ts';
import { openGguf } from './gguf.ts';

/**
 * Opens the checkpoint at `path`: a GGUF file, or any part of a split one.
 * @throws CheckpointError when it cannot be opened, is damaged, or is of another kind: the message says which, and what to do.
 */
export const openCheckpoint = (path: string): Promise<Checkpoint> => openGguf(path);

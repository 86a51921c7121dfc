// One compute thread: a loop in which it sleeps until a task begins. It never returns to its event loop.
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { control, task, unpackTask } from '../compiled/commands.ts';
import { instantiate, type Kernels } from './kernels.ts';
import { abandon, type SharedBank, trapped, type WorkerStart } from './threads.ts';

const { module, thread, threads, bank: first, port } = workerData as WorkerStart;
const banks: { shared: SharedBank; kernels: Kernels }[] = [];
const attach = (shared: SharedBank): void => {
  banks.push({ shared, kernels: instantiate(module, shared.memory, shared.stackEnd) });
};

attach(first);
const words = new Int32Array(first.memory.buffer, first.control, control.bytes / 4);
parentPort!.postMessage('ready');
try {
  loop();
} catch (error) {
  port.postMessage(trapped(error));
  for (const { shared } of banks) abandon(shared.memory, shared.control);
}
port.close();

function loop(): void {
  for (let seen = 0; ; ) {
    seen = banks[0]!.kernels.wait_for_task(BigInt(first.control), seen);
    const { what, bank, program } = unpackTask(seen);
    switch (what) {
      case task.Run: {
        const { shared, kernels } = banks[bank]!;
        const status = kernels.run(BigInt(shared.control), BigInt(shared.programs[program]!), thread, threads);
        if (status !== 0) return;
        break;
      }
      case task.Attach: {
        attach(receiveMessageOnPort(port)!.message as SharedBank);
        Atomics.add(words, control.attached, 1);
        Atomics.notify(words, control.attached);
        break;
      }
      default:
        return;
    }
  }
}

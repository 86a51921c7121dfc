// Time limits in tests count this process's own work, so that a busy machine does not fail them.

/** Milliseconds of processor time from now on. */
export function processorTime(): () => number {
  const start = process.cpuUsage();
  return () => process.cpuUsage(start).user / 1000;
}

/**
 * Ends with the process that started this one. npm hands on SIGINT and SIGTERM only, a closed terminal or a kill -9 not
 * even those, and what it leaves behind would go on running, with the ports taken.
 */
const lookEveryMs = 250;

/** Calls `ended` once, when the parent process has ended; keeps nothing alive by itself. */
export function onParentEnd(ended: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    ended();
  }, lookEveryMs);
  timer.unref();
}

/**
 * Measuring on a machine that others use too: what is compared is run in turns, in the same process, and every sample counts: what a
 * caller meets now and then is a part of the answer's time. A ratio comes from one run; two runs are never compared with each other.
 */

export const percentile = (samples: readonly number[], share: number): number => {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
};
/** How often each query is asked. */
export const queryPasses = 5;

export const median = (samples: readonly number[]): number => percentile(samples, 0.5);
export const round = (value: number, digits = 3): number => Number(value.toPrecision(digits));

export type Case = (turn: number) => unknown;

/**
 * Runs every case once for each turn, one after the other, starting with another case each time; then all of it again,
 * `passes` times, after `warmups` turns that are not counted. Gives each case's milliseconds, of every turn of every pass.
 */
export async function interleaved<Name extends string>(
  cases: Readonly<Record<Name, Case>>,
  { turns, warmups = 0, passes = 1 }: { turns: number; warmups?: number; passes?: number },
): Promise<Record<Name, number[]>> {
  const names = Object.keys(cases) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let turn = 0; turn < warmups; turn++) for (const name of names) await cases[name](turn % turns);
  for (let pass = 0; pass < passes; pass++) {
    for (let turn = 0; turn < turns; turn++) {
      for (let i = 0; i < names.length; i++) {
        const name = names[(pass + turn + i) % names.length]!;
        const startedMs = performance.now();
        await cases[name](turn);
        samples[name].push(performance.now() - startedMs);
      }
    }
  }
  return samples;
}

/** Milliseconds on the clock, and of processor time over all threads of the process: the latter others cannot stretch. */
export async function timed<T>(work: () => T | Promise<T>): Promise<{ value: T; ms: number; cpuMs: number }> {
  const before = process.cpuUsage();
  const startedMs = performance.now();
  const value = await work();
  const ms = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(before);
  return { value, ms, cpuMs: (user + system) / 1000 };
}

/**
 * Measuring on a machine that others use too: what is compared is run in turns, in the same process, and medians are
 * taken over rounds. A ratio comes from one run; two runs are never compared with each other.
 */

export const percentile = (samples: readonly number[], share: number): number => {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
};
export const median = (samples: readonly number[]): number => percentile(samples, 0.5);
export const round = (value: number, digits = 3): number => Number(value.toPrecision(digits));

export type Case = (turn: number) => unknown;

/**
 * Runs every case once for each turn, one after the other, starting with another case each time; a first `warmups`
 * turns are not counted. Gives each case's milliseconds by turn.
 */
export async function interleaved<Name extends string>(
  cases: Readonly<Record<Name, Case>>,
  { turns, warmups = 0 }: { turns: number; warmups?: number },
): Promise<Record<Name, number[]>> {
  const names = Object.keys(cases) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let turn = -warmups; turn < turns; turn++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(((turn + i) % names.length) + names.length) % names.length]!;
      const startedMs = performance.now();
      await cases[name](turn < 0 ? turn + warmups : turn);
      if (turn >= 0) samples[name].push(performance.now() - startedMs);
    }
  }
  return samples;
}

export async function timed<T>(work: () => T | Promise<T>): Promise<{ value: T; ms: number }> {
  const startedMs = performance.now();
  const value = await work();
  return { value, ms: performance.now() - startedMs };
}

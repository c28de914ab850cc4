/** Commands that go through a collection's shards: what fails concerns its shard alone. */

import { type ShardRef, shardName } from "../../lib/core/format/keys.ts";
import { type ErrorKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import { type ExitCode, exitCodeOf, exitCodes } from "./exit-code.ts";

export interface ShardFailure {
  readonly shard: number;
  readonly kind: ErrorKind;
  readonly message: string;
}
export interface EachShard<T> {
  readonly done: readonly T[];
  readonly failed: readonly ShardFailure[];
}

/** One after the other. Where all of them fail, the command fails as its first shard did. */
export async function eachShard<T>(
  shards: readonly number[],
  work: (shard: number) => Promise<T>,
  isInterrupted: () => boolean = () => false,
): Promise<EachShard<T>> {
  const done: T[] = [];
  const failed: ShardFailure[] = [];
  let first: SiltstoneError | null = null;
  for (const shard of shards) {
    if (isInterrupted()) break;
    try {
      done.push(await work(shard));
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      first ??= error;
      failed.push({ shard, kind: error.kind, message: error.message });
    }
  }
  if (first !== null && done.length === 0) throw first;
  return { done, failed };
}

/** Damage outranks what another try may mend. */
export function exitCodeOfFailures(failures: readonly { readonly kind: ErrorKind }[]): ExitCode {
  const worst = failures.find(({ kind }) => kind === "corrupt") ?? failures[0];
  return worst === undefined ? exitCodes.ok : exitCodeOf(worst.kind);
}

export const failureLine = ({ collection, shard }: ShardRef, { kind, message }: ShardFailure): string =>
  `${shardName({ collection, shard })} failed (${kind}): ${message}`;

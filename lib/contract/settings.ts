/**
 * The numbers that a store is deployed with, a row each: every default and every range is stated here and nowhere else.
 * The constructs take a setting by its name as a prop of the part before the dot, the CDK app as `-c part.name=…`; those with a
 * variable reach the functions in their environment.
 */
interface SettingRow {
  readonly min: number;
  readonly max: number;
  /** Null where there is none, or it is derived from others: the description says which. */
  readonly default: number | null;
  readonly description: string;
  /** Environment variable by which the functions are told; its value has the same unit. */
  readonly variable?: string;
}

/** Most that Lambda gives a function. */
const memoryMiBMax = 10_240;
/** Most that Lambda gives new accounts. */
const memoryMiBOfNewAccounts = 3008;
const memoryMiB = { min: 128, max: memoryMiBMax } as const;
const diskMiB = { min: 512, max: 10_240 } as const;
const concurrency = { min: 0, max: 100_000, default: null } as const;
const reserved = "Invocations at a time, taken from the account's; by default it shares them with others.";

export const settings = {
  "producer.memoryMiB": { ...memoryMiB, default: 512, description: "Memory of the producer." },
  "producer.reservedConcurrency": { ...concurrency, description: reserved },
  "compaction.memoryMiB": {
    ...memoryMiB,
    default: memoryMiBOfNewAccounts,
    description: "Memory of the compactor, which counts on 290 MiB for itself.",
  },
  "compaction.diskMiB": {
    ...diskMiB,
    default: 4096,
    description: "Local disk of the compactor, for the segments of one merge.",
  },
  "compaction.reservedConcurrency": { ...concurrency, description: reserved },
  "compaction.intervalMinutes": {
    min: 1,
    max: 60,
    default: 1,
    description: "Time between two runs that ingest.",
  },
  "compaction.upkeepIntervalMinutes": {
    min: 1,
    max: 1_440,
    default: 5,
    description: "Time between two runs that merge and collect garbage.",
  },
  "query.memoryMiB": {
    ...memoryMiB,
    default: memoryMiBOfNewAccounts,
    description: "Memory of the query function, or of each query group.",
  },
  "query.diskMiB": {
    ...diskMiB,
    default: 4096,
    description: "Local disk of the query function, or of each query group, for cached segments.",
  },
  "query.cacheMiB": {
    min: 1,
    max: 5_120,
    default: null,
    description:
      "Segment files kept in memory and on disk: half of the memory, or half of the local disk where that is less. At most half of the local disk: while views are swapped, and old ones are still read, twice as much is there.",
  },
  "query.groups": {
    min: 1,
    max: 48,
    default: 1,
    description: "Functions over which the shards of a collection are spread.",
  },
  "query.refreshSeconds": {
    min: 0,
    max: 300,
    default: 5,
    variable: "SILTSTONE_REFRESH_SECONDS",
    description: "Age at which a cached view looks for a newer version, behind the answers.",
  },
  "query.reservedConcurrency": { ...concurrency, description: `${reserved} Of each function.` },
  "query.provisionedConcurrency": {
    min: 1,
    max: 100_000,
    default: null,
    description: "Processes of each query function that are kept started; by default none.",
  },
  "embedding.memoryMiB": { ...memoryMiB, default: 1024, description: "Memory of the embedder." },
  "embedding.workersMax": {
    min: 2,
    max: 1_000,
    default: 8,
    description:
      "Runs of the embedder at a time for each of the three queues: Lambda's own bound; `silt jobs config set concurrency=N` changes it while they run.",
  },
  "storage.noncurrentVersionDays": {
    min: 14,
    max: 36_500,
    default: 14,
    description: "Days that replaced and deleted objects can be brought back.",
  },
} as const satisfies Readonly<Record<string, SettingRow>>;

/** `query.cacheMiB` as the functions are told it, in bytes. */
export const cacheBytes = {
  min: 2 ** 20,
  max: 10 * 2 ** 30,
  // Twice that is open at most, which the smallest local disk holds.
  default: 256 * 2 ** 20,
  variable: "SILTSTONE_CACHE_BYTES_MAX",
  description: "Bytes of segment files kept in memory and on disk.",
} as const satisfies SettingRow;

export type SettingName = keyof typeof settings;
export const settingNames = Object.keys(settings) as SettingName[];

/** The value, or the default. Throws an error that names the setting, its range and the value. */
export function checkSetting(name: SettingName, value: number | undefined): number {
  return checked(name, value ?? settings[name].default);
}

/** The value, which may be left out. Throws as above. */
export const checkOptionalSetting = (name: SettingName, value: number | undefined): number | undefined =>
  value === undefined ? undefined : checked(name, value);

function checked(name: SettingName, value: number | null): number {
  const row: SettingRow = settings[name];
  if (value === null || !Number.isInteger(value) || value < row.min || value > row.max)
    throw new Error(`${name}: must be an integer from ${row.min} to ${row.max}, got ${value}`);
  return value;
}

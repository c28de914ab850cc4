/**
 * The numbers that a store is deployed with, a row each: every default and every range is stated here and nowhere else.
 * The constructs take a setting under its name as a prop; those with a variable reach the functions in their environment.
 */
interface SettingRow {
  readonly min: number;
  readonly max: number;
  /** Null where it is derived from others: the description says how. */
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
const storageMiB = { min: 512, max: 10_240 } as const;

export const settings = {
  producerMemoryMiB: { ...memoryMiB, default: 512, description: "Memory of the producer." },
  compactorMemoryMiB: {
    ...memoryMiB,
    default: memoryMiBOfNewAccounts,
    description: "Memory of the compactor, which counts on 290 MiB for itself.",
  },
  compactorStorageMiB: {
    ...storageMiB,
    default: 4096,
    description: "Local disk of the compactor, for the segments of one merge.",
  },
  queryMemoryMiB: {
    ...memoryMiB,
    default: memoryMiBOfNewAccounts,
    description: "Memory of the query function, or of each query group.",
  },
  queryStorageMiB: {
    ...storageMiB,
    default: 4096,
    description: "Local disk of the query function, or of each query group, for cached segments.",
  },
  queryCacheMiB: {
    min: 1,
    max: 5_120,
    default: null,
    description:
      "Segment files kept in memory and on disk: half of the memory, or half of the local disk where that is less. At most half of the local disk: while views are swapped, and old ones are still read, twice as much is there.",
  },
  queryGroups: {
    min: 1,
    max: 48,
    default: 1,
    description: "Functions over which the shards of a collection are spread.",
  },
  refreshSeconds: {
    min: 0,
    max: 300,
    default: 5,
    variable: "SILTSTONE_REFRESH_SECONDS",
    description: "Age at which a cached view looks for a newer version, behind the answers.",
  },
  cacheBytesMax: {
    min: 2 ** 20,
    max: 10 * 2 ** 30,
    // Twice that is open at most, which the smallest local disk holds.
    default: 256 * 2 ** 20,
    variable: "SILTSTONE_CACHE_BYTES_MAX",
    description: "queryCacheMiB as the functions are told it.",
  },
  noncurrentVersionDays: {
    min: 14,
    max: 36_500,
    default: 14,
    description: "Days that replaced and deleted objects can be brought back.",
  },
} as const satisfies Readonly<Record<string, SettingRow>>;

export type SettingName = keyof typeof settings;

/** The value, or the default. Throws an error that names the setting, its range and the value. */
export function checkSetting(name: SettingName, value: number | undefined): number {
  const row: SettingRow = settings[name];
  const checked = value ?? row.default;
  if (checked === null || !Number.isInteger(checked) || checked < row.min || checked > row.max)
    throw new Error(`${name}: must be an integer from ${row.min} to ${row.max}, got ${checked}`);
  return checked;
}

/**
 * Times that must stay in proportion to each other. Each says what enforces it.
 */

/** S3 refuses a request that was signed further from its own time than this. */
export const clockSkewMaxMs = 15 * 60_000;

/**
 * How far what a delta says of its own time, by its ULID and by the versions of its rows where arrival orders them, may lie
 * ahead of when S3 says that it was written (lib/engine/deltas.ts). S3 tells whole seconds, and its servers' clocks differ
 * a little: a minute beside the skew that it allows.
 */
export const clockAllowanceMs = clockSkewMaxMs + 60_000;

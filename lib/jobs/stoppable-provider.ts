/** A provider that is not called while work is stopped: a batch that waits, or repeats a call, looks as well. */
import { type Provider, ProviderRefusal } from "../embedding/provider.ts";
import type { JobSettings } from "./settings.ts";

/** Longer than any call waits: it is given up at once. */
const foreverMs = 3_600_000;

export const stoppable = (provider: Provider, settings: () => Promise<JobSettings>): Provider => ({
  ...provider,
  async request(request) {
    const { state } = await settings();
    if (state === "stopped") throw new ProviderRefusal("throttled", "work is stopped", foreverMs);
    return provider.request(request);
  },
});

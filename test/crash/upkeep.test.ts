/** CMP-5, ING-3, SNP-1, SNP-4, SNP-5, CMP-6: garbage collection, rolling back, pinning, repairing and putting aside, one accident at every single effect. */
import { exploreAll } from "./every-effect.ts";

exploreAll(
  "collect garbage",
  "roll back",
  "roll back to before a merge",
  "roll back what is ingested and not deleted yet",
  "roll back to what only a pin keeps",
  "restore a version that only the bucket keeps",
  "pin",
  "repair a lost pointer",
  "repair beside a manifest that lost its race",
  "quarantine",
  "retry a quarantined delta",
);

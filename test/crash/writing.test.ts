/** CMP-5, ING-3, SNP-1: producing, ingesting and merging, one accident at every single effect. */
import { exploreAll } from "./every-effect.ts";

exploreAll(
  "create collection",
  "produce",
  "ingest",
  "ingest what a delete has beaten",
  "ingest an old backlog",
  "merge into a graph",
  "merge that drops a tombstone",
  "merge that reclaims",
);

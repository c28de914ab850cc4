/** What users' own CDK apps import as "siltstone/constructs". */
export type { Compaction } from "./compaction.ts";
export type { Ingestion, ProduceGrant } from "./ingestion.ts";
export { OperatorPolicy, type OperatorPolicyProps } from "./operator-policy.ts";
export type { Query } from "./query.ts";
export type { Storage } from "./storage.ts";
export { VectorStore, type VectorStoreProps } from "./vector-store.ts";

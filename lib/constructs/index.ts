/** What users' own CDK apps import as "siltstone/constructs". */
export type { Collections } from "./collections.ts";
export type { Compaction, CompactionOptions } from "./compaction.ts";
export type { EmbeddingOptions, ProviderOptions } from "./embedding.ts";
export type { FunctionOptions } from "./handler-function.ts";
export type { Ingestion, ProduceGrant, ProducerOptions } from "./ingestion.ts";
export type { Jobs } from "./jobs.ts";
export type { AlarmChange, Monitoring, MonitoringOptions } from "./monitoring/monitoring.ts";
export type { NetworkOptions } from "./network.ts";
export { OperatorPolicy, type OperatorPolicyProps } from "./operator-policy.ts";
export type { Query, QueryOptions } from "./query.ts";
export type { Storage, StorageOptions } from "./storage.ts";
export { VectorStore, type VectorStoreProps } from "./vector-store.ts";

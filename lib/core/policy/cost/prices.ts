/** AWS list prices with their date: US dollars, us-east-1, without free tiers and tax; docs/cost.md has the sources. */
export const pricesAsOf = "2026-11";

export const prices = {
  lambdaGbSecondX86: 0.0000166667,
  lambdaGbSecondArm: 0.0000133334,
  lambdaPerMillion: 0.2,
  s3GbMonth: 0.023,
  s3PutPerMillion: 5,
  s3GetPerMillion: 0.4,
  sqsPerMillion: 0.4,
  dynamoWritePerMillion: 0.625,
  dynamoReadPerMillion: 0.125,
  schedulerPerMillion: 1,
  metricMonth: 0.3,
  alarmMetricMonth: 0.1,
  dashboardMonth: 3,
  logsGb: 0.5,
} as const;

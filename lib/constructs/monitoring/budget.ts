/** A monthly budget over what carries the store's tags. */
import { CfnBudget } from "aws-cdk-lib/aws-budgets";
import { ServicePrincipal } from "aws-cdk-lib/aws-iam";
import type { ITopic } from "aws-cdk-lib/aws-sns";
import type { Construct } from "constructs";

/** Percent of the budget at which the topic is told. */
const notifyPercents = [80, 100];

const tagged = (key: string, value: string) => ({ tags: { key, values: [value] } });

export function addBudget(
  scope: Construct,
  {
    dollars,
    stage,
    topic,
  }: { readonly dollars: number; readonly stage: string; readonly topic: ITopic | undefined },
): CfnBudget {
  topic?.grantPublish(new ServicePrincipal("budgets.amazonaws.com"));
  const notify = (threshold: number) => ({
    notification: {
      notificationType: "ACTUAL",
      comparisonOperator: "GREATER_THAN",
      threshold,
      thresholdType: "PERCENTAGE",
    },
    subscribers: [{ subscriptionType: "SNS", address: topic!.topicArn }],
  });
  return new CfnBudget(scope, "Budget", {
    budget: {
      budgetType: "COST",
      timeUnit: "MONTHLY",
      budgetLimit: { amount: dollars, unit: "USD" },
      // A filter by several values counts what has any of them: both tags are demanded.
      metrics: ["UnblendedCost"],
      filterExpression: {
        and: [tagged("application", "siltstone"), tagged("stage", stage)],
      },
    },
    ...(topic === undefined ? {} : { notificationsWithSubscribers: notifyPercents.map(notify) }),
  });
}

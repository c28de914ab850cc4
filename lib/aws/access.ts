/** Where a store's services are, and as whom they are asked, where that is not as the environment says. */

const services = ["s3", "sqs", "dynamodb", "lambda"] as const;
export type Service = (typeof services)[number];

export interface AwsAccess {
  readonly region?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Of the configuration files: credentials, and the region where none is given. */
  readonly profile?: string;
  readonly endpoints?: Readonly<Record<Service, string>>;
}

/** What the environment says: the standard configuration of the SDK. */
export const ownAccess: AwsAccess = {};

/** The part of a client's configuration that says so. */
export const accessTo = (service: Service | null, access: AwsAccess) => ({
  ...(access.region === undefined ? {} : { region: access.region }),
  ...(access.credentials === undefined ? {} : { credentials: access.credentials }),
  ...(access.profile === undefined ? {} : { profile: access.profile }),
  ...(service === null || access.endpoints === undefined ? {} : { endpoint: access.endpoints[service] }),
});

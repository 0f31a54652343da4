// The entry point for federated learning: an adapted model as a node of a Flower server. It is experimental.

export {
  type FederatedRound,
  type Federation,
  type FederationState,
  type FederationSummary,
  joinFederation,
  type JoinFederationOptions,
  type RoundOutcome,
  type RoundReport,
} from './extensions/federated/join';
export {
  createNodeKey,
  keptNodeKey,
  type NodeKey,
  nodeKeyFromText,
  nodeKeyToText,
  publicKeyText,
} from './extensions/federated/nodeKey';
export type {ConfigValue, Metrics} from './extensions/federated/records';
export {frozenFingerprint} from './extensions/federated/sharedTensors';

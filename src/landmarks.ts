// The door to landmarks: what models of hands, faces and bodies learn by.

export {augmentLandmarks, type AugmentOptions, type LandmarkBatch} from './extensions/landmarks/augmentLandmarks';
export {landmarkLoss, type LandmarkLossOptions} from './extensions/landmarks/landmarkLoss';
export {
  correctKeypoints,
  type CorrectKeypointsOptions,
  normalizedMeanError,
} from './extensions/landmarks/landmarkMetrics';
export type {LandmarkLayout, LandmarkSize, SizedLayout} from './extensions/landmarks/layout';
export type {Metric} from './platform/tfjs/metric';

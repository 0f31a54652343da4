// The entry point for landmarks of hands, faces and bodies: a loss, metrics and augmentation.

export {augmentLandmarks, type AugmentOptions, type LandmarkBatch} from './extensions/landmarks/augmentLandmarks';
export {landmarkLoss, type LandmarkLossOptions} from './extensions/landmarks/landmarkLoss';
export {
  normalizedMeanError,
  percentageOfCorrectKeypoints,
  type PercentageOfCorrectKeypointsOptions,
} from './extensions/landmarks/landmarkMetrics';
export type {LandmarkLayout, LandmarkSize, SizedLayout} from './extensions/landmarks/layout';
export type {MetricFunction} from './platform/tfjs/metric';

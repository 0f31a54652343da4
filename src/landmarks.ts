// The door to landmarks: what models of hands, faces and bodies learn by.

export {augmentLandmarks, type AugmentOptions, type LandmarkBatch} from './landmarks/augmentLandmarks';
export {landmarkLoss, type LandmarkLossOptions} from './landmarks/landmarkLoss';
export {correctKeypoints, type CorrectKeypointsOptions, normalizedMeanError} from './landmarks/landmarkMetrics';
export type {LandmarkLayout, LandmarkSize, SizedLayout} from './landmarks/layout';
export type {Metric} from './tfjs/metric';

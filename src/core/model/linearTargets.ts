import type * as tf from '@tensorflow/tfjs';
import {classInAdapters, plainClass} from '../layers/adaptation';
import {borrowing} from '../layers/borrowingLayer';
import {baseOf} from '../layers/layerMarks';
import {callsOf, childrenOf, type Site} from '../rewire/walk';
import {isContainer} from '../../platform/tfjs/checkModel';

/** A class of layers that defines the default targets of models with such a layer. */
export interface TargetedClass {
  readonly usualTargets?: 'linear';
}

/** The default targets of a model. */
export function usualTargets(sites: readonly Site[]): 'all' | 'linear' {
  const isLinear = ({layer}: Site) => (baseOf(layer).constructor as TargetedClass).usualTargets === 'linear';
  return sites.some(isLinear) ? 'linear' : 'all';
}

/** The `Dense` layers of a model except its output heads, like PEFT's `all-linear`: no embeddings or convolutions. */
export function linearSites(model: tf.LayersModel, sites: readonly Site[]): ReadonlySet<Site> {
  const heads = headsOf(model);
  const isLinear = ({layer}: Site) => classInAdapters(plainClass(baseOf(layer).getClassName())) === 'Dense';
  return new Set(sites.filter(site => isLinear(site) && !heads.has(site.layer)));
}

function headsOf(model: tf.LayersModel): Set<tf.layers.Layer> {
  const calls = callsOf(model);
  const heads = new Set<tf.layers.Layer>();
  const seen = new Set<unknown>(); // branches without weights may meet again and again
  const visit = (tensor: tf.SymbolicTensor) => {
    const call = calls.find(({outputTensors}) => outputTensors.includes(tensor));
    if (call === undefined || seen.has(call)) {
      return;
    }
    seen.add(call);
    const {outboundLayer: layer, inputTensors} = call;
    if (layer.weights.length === 0 && borrowing(layer) === undefined) {
      inputTensors.forEach(visit);
    } else if (isContainer(layer)) {
      headsOf(layer).forEach(head => heads.add(head));
    } else {
      heads.add(childrenOf(layer)?.[0] ?? layer);
    }
  };
  model.outputs.forEach(visit);
  return heads;
}

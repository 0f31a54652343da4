import {largeNetwork, smallNetwork} from '../../peftNetworks';
import type {AttackKind} from '../kind';
import {adaptedModel} from './adaptedModel';
import {adapterJson} from './adapterJson';
import {adapterSafetensors} from './adapterSafetensors';
import {checkpointFile} from './checkpointFile';
import {cutAnswers} from './cutAnswers';
import {flower} from './flower';
import {gguf} from './gguf';
import {ggufHeader} from './ggufHeader';
import {graphModel} from './graphModel';
import {hubFolder} from './hubFolder';
import {kernels} from './kernels';
import {keyMap} from './keyMap';
import {largeOnnx} from './largeOnnx';
import {adaptedModels, methodModels} from './models';
import {onnx} from './onnx';
import {onnxTransformer} from './onnxTransformer';
import {peft} from './peft';
import {preferenceLines} from './preferenceLines';
import {rewardSettings} from './rewardSettings';
import {transformer} from './transformer';
import {transformerConfig} from './transformerConfig';
import {soundPreprocessor, wavFile} from './wavFile';

const OF_LORA = ['lora', 'rslora', 'modules_to_save', 'bias_lora_only'].map(folder => [folder]);
const OF_METHODS = ['dora', 'doraKinds', 'ia3', 'loha', 'lokr', 'lokrBoth', 'vera'].map(folder => ['made', folder]);

/** A row for each kind of file that may come from a stranger. */
export const KINDS: readonly AttackKind[] = [
  adapterJson('', adaptedModels),
  adapterJson(', of other methods', methodModels),
  adapterSafetensors('', adaptedModels),
  adapterSafetensors(', of other methods', methodModels),
  peft('', smallNetwork, OF_LORA),
  peft(', of other methods', () => largeNetwork(true), OF_METHODS),
  adaptedModel,
  checkpointFile,
  keyMap,
  transformer,
  graphModel('fixed', 'a fixed batch'),
  graphModel('open', 'any batch'),
  graphModel('openLengths', 'any batch and length'),
  transformerConfig,
  hubFolder,
  gguf,
  ggufHeader,
  preferenceLines,
  rewardSettings,
  onnx,
  largeOnnx,
  onnxTransformer,
  flower,
  wavFile,
  soundPreprocessor,
  cutAnswers,
  kernels,
];

import type {Architecture} from '../net/architecture';
import {gemma3} from './gemma3';

/** The sizes of `Gemma3TextConfig`, which configs of published models leave out where they are these. */
const SIZES = {
  hidden_size: 2304,
  intermediate_size: 9216,
  num_attention_heads: 8,
  num_hidden_layers: 26,
  vocab_size: 262_208,
};

/** The classes of the whole model, and those of its text part. */
const TEXT_CLASSES: Readonly<Record<string, string>> = {
  Gemma3ForConditionalGeneration: 'Gemma3ForCausalLM',
  Gemma3Model: 'Gemma3TextModel',
};

/** Gemma 3 with 4 billion parameters or more, which also takes images: its text part. */
export const gemma3Whole: Architecture = {
  ...gemma3,
  renamed: name => name.replace(/^language_model\.(?:model\.)?/, ''),
  unused: /^(?:vision_tower|multi_modal_projector)\./,
  textPart: imageTextConfig => {
    const config = imageTextConfig.section('text_config').withDefaults(SIZES);
    config.expect('model_type', 'gemma3_text');
    // transformers does not give the masks of the whole model both sides.
    config.expect('use_bidirectional_attention', false, null);
    const [named] = [imageTextConfig.get('architectures')].flat();
    const className = Object.hasOwn(TEXT_CLASSES, String(named)) ? TEXT_CLASSES[String(named)] : named;
    const ofWhole = ['dtype', 'torch_dtype', 'eos_token_id', 'quantization_config', 'tie_word_embeddings'];
    const shared = ofWhole.flatMap(name =>
      imageTextConfig.get(name) === undefined ? [] : [[name, imageTextConfig.get(name)]],
    );
    return config.with({
      ...(Object.fromEntries(shared) as Record<string, unknown>),
      model_type: 'gemma3_text',
      architectures: named === undefined ? undefined : [className],
    });
  },
};
